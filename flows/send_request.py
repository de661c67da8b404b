"""Atomic's Send Request step as a flow: every parameter is JSON, and no parameter is a secret."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from prefect_atomic import Response, send_request
from prefect_atomic.tasks import request_name


def _run_name() -> str:
    return request_name(flow_run.parameters.get("method", ""), flow_run.parameters.get("url", ""))


@flow(name="send-request", flow_run_name=_run_name)
def send_request_flow(
    method: str,
    url: str,
    credential: str | None = None,
    params: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    body: Any = None,
    form: dict[str, Any] | None = None,
    timeout: float = 30.0,
    follow_redirects: bool = False,
    raise_for_status: bool = True,
    allow_private_networks: bool = True,
) -> Response:
    """Sends one request with a saved credential, and fails where the answer is an error.

    Args:
        method: The HTTP method, such as GET or POST.
        url: Where to, with https://.
        credential: The slug of a saved credential, such as `atomic-basic-auth/crm`; none sends no proof.
        params: Added to the query of the URL.
        headers: Further header fields; a secret belongs into a credential.
        body: The body, as JSON.
        form: The body, as the fields of a form; instead of `body`.
        timeout: Seconds to wait for a connection, and for each part of the answer.
        follow_redirects: Whether to go where a redirect leads.
        raise_for_status: Whether an answer that is neither 2xx nor 304 fails the run.
        allow_private_networks: Whether the URL may lead to an address that is not public.

    Returns:
        The answer, without the request.
    """
    response = send_request(
        method,
        url,
        credential=credential,
        params=params,
        headers=headers,
        json=body,
        data=form,
        timeout=timeout,
        follow_redirects=follow_redirects,
        raise_for_status=raise_for_status,
        allow_private_networks=allow_private_networks,
    )
    get_run_logger().info(
        "%s answered %d with %d bytes in %.2f s (%d attempts)",
        response.url,
        response.status_code,
        len(response.content),
        response.elapsed,
        response.attempts,
    )
    return response
