"""The story of a rollout, for a person: what changed, when, and why."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from perch.rollout.ledger import damaged, entries


def story(path: Path) -> Iterator[str]:
    """The lines of a ledger that tell something new: the begin, each change of mind or weight, the end, and notes.

    Raises:
        RolloutError: the ledger cannot be read; what stands before the place has been told by then.
    """
    try:
        yield from _story(path)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        raise damaged(path, f"an entry does not hold what it should ({type(error).__name__}: {error})") from error


def _story(path: Path) -> Iterator[str]:
    last: tuple[object, ...] = ()
    for entry in entries(path):
        match entry["kind"]:
            case "begin":
                attempt = entry["attempt"]
                retried = attempt.get("retry_of")
                retry = f", a retry of {retried}" if retried else ""
                yield (
                    f"Rollout {attempt['name']}{retry}: version {attempt['version']} asks to replace champion "
                    f"{attempt['champion']}; the baseline is version {attempt['baseline']}."
                )
            case "tick":
                decision, now_s = entry["decision"], entry["observation"]["now_s"]
                if command := entry["observation"].get("command"):
                    yield f"{_clock(now_s)}  note      A person asked for it: {command.replace('_', ' ')}."
                turn = (decision["action"], decision["phase"], *decision["weights"].values())
                if turn[1:] != last[1:] or (turn[0] != last[0] and turn[0] != "hold"):
                    shares = _shares(decision["weights"])
                    label = decision["action"] if entry["outcome"] is None else "end"
                    yield f"{_clock(now_s)}  {label:<9} {shares}  {decision['sentence']}"
                last = turn
                if entry["outcome"] is not None:
                    yield f"{_clock(now_s)}  ended     {entry['outcome']}"
            case _:
                yield f"{_clock(entry['now_s'])}  note      {entry['sentence']}"


def _clock(now_s: float) -> str:
    return datetime.fromtimestamp(now_s, tz=UTC).strftime("%H:%M:%S")


def _shares(weights: dict[str, float]) -> str:
    return "/".join(f"{100 * weights[arm]:.0f}" for arm in ("baseline", "stable", "canary")) + " %"
