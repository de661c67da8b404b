"""A receiver in FastAPI that verifies webhooks, and a flow that sends it one."""

import base64
import secrets
import threading
import time

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from prefect import flow

from prefect_atomic import SignatureError, WebhookSubscription, verify_webhook, webhook

SECRET = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
app = FastAPI()


@app.post("/events")
async def receive(request: Request) -> dict[str, str]:
    try:
        event = verify_webhook(request.headers, await request.body(), SECRET)
    except SignatureError as error:
        raise HTTPException(401, str(error)) from None
    print(f"received and verified: {event['type']}")
    return {"received": event["id"]}


@flow
def tell(url: str) -> str:
    subscription = WebhookSubscription(url=url, signing_secret=SECRET)
    return webhook({"type": "card-completed", "data": {"card": 42}}, subscription).state


if __name__ == "__main__":
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    print(tell(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/events"))
    server.should_exit = True
