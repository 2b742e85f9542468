"""The attacks on a real daemon that need no waiting; all of them: `python -m tests.attack`."""

from pathlib import Path

from tests import attack


def test_a_daemon_under_attack_serves_honest_senders_and_keeps_nothing_else(
    tmp_path: Path,
) -> None:
    target = attack.Target(tmp_path)
    try:
        wrong = attack.judged(target, [each for each in attack.attacks() if not each.slow])
    finally:
        target.daemon.process.terminate()
        code = target.daemon.wait()

    assert wrong + attack.left(target) == []
    assert code == 0


def test_an_attack_that_succeeds_is_told(tmp_path: Path) -> None:
    """An honest request that is taken for an attack: it is answered with 200."""
    target = attack.Target(tmp_path)
    taken = attack.Attack(
        "none", lambda it: it.answers(attack.signed(attack.body(7_000_000))), {401}
    )
    try:
        wrong = attack.judged(target, [taken])
    finally:
        target.daemon.process.terminate()
        target.daemon.wait()

    assert wrong == ["none: answered [200], served True, alive True"]
    assert attack.left(target) == ["3 trades for 2 honest requests"]
