"""The server differs from the hosted service as the library, and the fake of such a server, take it to."""

import pytest
import tinker
from tests.selfhosted.hosting import SKYRL, only
from tests.support.differences import DIFFERENCES

pytestmark = pytest.mark.selfhosted


@only(SKYRL)
@pytest.mark.parametrize("check", DIFFERENCES, ids=lambda check: check.__name__)
async def test_difference(host, check):
    await check(tinker.ServiceClient(base_url=host.url), tinker.RestClient(base_url=host.url), host.model)
