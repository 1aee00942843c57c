"""Ctrl-C is noticed whoever takes the signal."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from assets.study import Study
from pipelines.commands.run import bring_up_to_date
from pipelines.console import Console
from pipelines.interruption import interruptions
from pipelines.reconcile import Request
from resources.home import Home


@pytest.fixture
def kept_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nothing_is_noticed_where_nothing_came() -> None:
    with interruptions() as check:
        check()


@pytest.mark.usefixtures("kept_handlers")
def test_a_signal_that_a_handler_swallows_is_noticed_once() -> None:
    signal.signal(signal.SIGINT, lambda *_: None)
    with interruptions() as check:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()
        check()


@pytest.mark.usefixtures("kept_handlers")
def test_other_signals_are_left_to_others() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)
    with interruptions() as check:
        os.kill(os.getpid(), signal.SIGUSR1)
        check()


@pytest.mark.slow
@pytest.mark.usefixtures("kept_handlers")
def test_a_run_ends_at_a_signal_that_comes_while_dagster_writes_any_of_its_events(
    made: Any, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster takes note of signals then, and forgets those that come with a run's last events."""

    def bring(study: Study, at: int | None) -> int:
        """How many events were written by a run that is interrupted at the given one."""
        written = 0
        with dg.DagsterInstance.ephemeral() as instance:
            handle = instance.handle_new_event

            def handle_and_interrupt(event: dg.EventLogEntry, **keywords: Any) -> None:
                nonlocal written
                if written == at:
                    os.kill(os.getpid(), signal.SIGINT)
                written += 1
                handle(event, **keywords)

            monkeypatch.setattr(instance, "handle_new_event", handle_and_interrupt)
            bring_up_to_date(study, home, instance, Request(only="statistics"), Console())
        return written

    made.change("round", row=7)
    n_events = bring(made.open(), None)
    assert n_events > 30
    for at in range(n_events):
        made.change("big", row=37 * at % 80)  # labels that no run has seen, of both values still
        with pytest.raises(KeyboardInterrupt):
            bring(made.open(), at)
    bring(made.open(), None)
    assert bring(made.open(), None) == 0, "everything is up to date"
