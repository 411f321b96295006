"""If-Match as in RFC 9110."""

from __future__ import annotations

import pytest

from firsthop_controlplane.api.etags import etag, require
from firsthop_controlplane.errors import Refused


@pytest.mark.parametrize("fields", [['"7"'], ["*"], ['"1", "7"'], ['"1"', '"7"'], [' "7" ']])
def test_a_tag_that_names_the_version_lets_the_change_pass(fields: list[str]) -> None:
    """Alone, in a list, in several fields, or as a star."""
    require(fields, 7)
    assert etag(7) == '"7"'


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 428),
        (['"6"'], 412),
        (['W/"7"'], 412),
        (['"77"'], 412),
        (["7"], 400),
        (['"7'], 400),
        ([""], 400),
        (['"7",'], 400),
        (["\t," * 4000], 400),
    ],
)
def test_every_other_if_match_is_refused(fields: list[str], status: int) -> None:
    """428 without, 412 for other versions and weak tags, 400 for what is no tag."""
    with pytest.raises(Refused) as caught:
        require(fields, 7)
    assert caught.value.status == status
