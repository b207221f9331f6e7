"""One value a register under every fault, and the checks see what breaks it."""

import pytest
from click.testing import CliRunner

from sadik_machine import NodeId
from sadik_register import Ballot, Quorums
from sadik_register.proposer import Proposal
from sadik_sim.cli import main
from sadik_sim.planted.bug import exchanged
from sadik_sim.registers import REGISTER_BUGS, execute_registers

pytestmark = pytest.mark.system

FOUND_AT_ONCE = {
    "promise-forgotten": "nothing leaves before it is on disk",
    "quorums-apart": "a register has one value",
    "decided-too-early": "a register has one value",
    "promised-before-store": "nothing leaves before it is on disk",
    "own-word-before-store": "a register has one value",
    "proposal-denied": "not applied is never seen",
    "register-answers-twice": "a request is answered once",
}
NODES = tuple(NodeId(bytes([number]) * 8) for number in (1, 2, 3))


def test_registers_keep_one_value_under_every_fault() -> None:
    results = [execute_registers(seed) for seed in range(12)]
    assert [result for result in results if result.invariant] == []
    assert sum(result.decided_under_faults for result in results) > 12, "the faults leave a chance"


def test_one_seed_is_one_run() -> None:
    assert execute_registers(3) == execute_registers(3)


@pytest.mark.parametrize(("name", "invariant"), FOUND_AT_ONCE.items())
def test_a_planted_bug_is_seen_at_once(name: str, invariant: str) -> None:
    results = (execute_registers(seed, name) for seed in range(10))
    assert next(result for result in results if result.invariant).invariant == invariant


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_every_planted_bug_is_seen() -> None:
    done = CliRunner().invoke(main, ["registers", "--bugs", "--seeds", "400"])
    assert done.exit_code == 0, done.output


def adopted_value() -> bytes:
    """What is proposed when two acceptors have accepted different values, the greater one last."""
    proposal = Proposal(b"own", Quorums.majority(NODES))
    ballot = proposal.begin(NODES[0], 1, 5)
    proposal.promised(NODES[1], ballot, Ballot(1, NODES[1], 1), b"least")
    proposal.promised(NODES[2], ballot, Ballot(2, NODES[2], 1), b"greatest")
    return proposal.value


def test_the_value_of_the_greatest_ballot_is_adopted() -> None:
    assert adopted_value() == b"greatest"
    with exchanged(REGISTER_BUGS["lowest-adopted"].plant()):
        assert adopted_value() == b"least"
