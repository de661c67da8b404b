"""What Prefect asks of every block: its own suite, which the collections on prefect.io pass too."""

from __future__ import annotations

from typing import get_args

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite

from prefect_atomic import AnyCredential, Credential, S3Bucket, WebhookSubscription

CREDENTIALS: tuple[type[Credential], ...] = get_args(AnyCredential)
BLOCKS: tuple[type[Block], ...] = (*CREDENTIALS, S3Bucket, WebhookSubscription)


@pytest.mark.parametrize("block", BLOCKS, indirect=True, ids=lambda block: block.__name__)
class TestEveryBlock(BlockStandardTestSuite):
    @pytest.fixture
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        kind: type[Block] = request.param
        return kind

    @pytest.mark.skip(
        reason="the blocks have no logo of their own yet; Prefect's check would fetch it from the internet"
    )
    def test_has_a_valid_image(self, block: type[Block]) -> None: ...


def test_the_union_has_the_seven_and_those_of_the_integrations() -> None:
    assert len(CREDENTIALS) == 11


@pytest.mark.parametrize("block", CREDENTIALS, ids=lambda block: block.__name__)
def test_a_slug_is_ours_and_a_title_is_distinct(block: type[Credential]) -> None:
    """A form has one tab for each title; a slug that another package uses would replace its type."""
    kind = block.model_fields["kind"].default
    assert block.get_block_type_slug() == f"atomic-{kind.removeprefix('atomic-')}"
    assert [kind.get_block_type_name() for kind in CREDENTIALS].count(block.get_block_type_name()) == 1


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_descriptions_fit_in_a_line_of_a_form(block: type[Block]) -> None:
    for name, field in block.model_fields.items():
        assert field.description, name
        assert len(field.description) <= 110, name
        assert "\n" not in field.description, name
