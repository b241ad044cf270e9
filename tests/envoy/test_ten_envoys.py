"""Ten Envoys of both variants and three groups, while their policies change at random and clients never stop asking."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

from tests.envoy import changing_policies
from tests.envoy.asking import Book, Clients, askable
from tests.envoy.changing_policies import Chance
from tests.envoy.fleet import INSTANCES, Instances, burst, in_service
from tests.envoy.upstream import upstreams

ENVOYS = 10
EDITS = 200


def test_two_hundred_random_edits_under_load_fail_no_request(tmp_path: Path) -> None:
    """Every answer is from somebody whom the policies named while it was under way. The seed gives the same edits
    again, but not the same moments."""
    seed = int(os.environ.get("TURNOUT_SEED") or random.randrange(10**6))
    print(f"to make the same edits again: TURNOUT_SEED={seed}")
    folder = tmp_path / "policies"
    folder.mkdir()
    with upstreams(*map(str, range(INSTANCES))) as servers:
        instances = Instances({server.port: server for server in servers.values()})
        chance = Chance(seed, instances.by_port)
        draft = changing_policies.first(chance)
        instances.take_up(draft)
        changing_policies.write(folder, draft, draft)
        with in_service(tmp_path, folder, ENVOYS) as fleet:
            fleet.wait_for_everything()
            book = Book([(draft,)], askable(draft))
            edits: Counter[str] = Counter()
            with Clients(tuple(fleet.envoys), book, seed) as clients:
                while edits.total() < EDITS and not clients.failures:
                    edits.update(burst(fleet, instances, book, clients, chance))
                    clients.wait_for_each(2)
            print(f"edits={dict(edits)}\nanswers={dict(clients.answered)}")
            assert not clients.failures, "\n".join([*clients.failures, fleet.control.process.last_words()])
            assert fleet.refusals() == 0, fleet.control.process.last_words()
