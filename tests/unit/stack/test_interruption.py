import os
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from stack.interruption import check, interruptible, result_of, wait_forever


def stop_soon(number: signal.Signals) -> None:
    threading.Timer(0.05, os.kill, (os.getpid(), number)).start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stop_signals_end_a_wait(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        stop_soon(number)
        wait_forever()
    check()  # forgotten afterwards


def test_an_interrupt_that_the_interpreter_swallowed_is_still_heard() -> None:
    never: Future[None] = Future()
    with pytest.raises(KeyboardInterrupt), interruptible():
        try:
            stop_soon(signal.SIGINT)
            wait_forever()
        except KeyboardInterrupt:
            pass  # as a finaliser would
        result_of(never)


def test_results_and_failures_pass() -> None:
    def late() -> None:
        raise TimeoutError("its own")

    with ThreadPoolExecutor(1) as pool:
        assert result_of(pool.submit(lambda: 3)) == 3
        with pytest.raises(TimeoutError, match="its own"):
            result_of(pool.submit(late))
