"""What tasks print and log reaches the driver, with the task's name in front."""

import logging
import re
import sys

import pytest

import rsim
from tests.conformance import marks


@rsim.remote
def greet(number):
    print(f"hello {number}")
    print(f"careful {number}", file=sys.stderr)
    return number


class Heard:
    """All that the driver's streams have got."""

    def __init__(self, capfd):
        self._capfd = capfd
        self.out = self.err = ""

    def read(self):
        out, err = self._capfd.readouterr()
        self.out += out
        self.err += err
        return self

    def await_text(self, stream, text):
        marks.await_that(lambda: text in getattr(self.read(), stream), f"{text!r} on {stream}")


@pytest.fixture
def heard(capfd):
    return Heard(capfd)


def line_with(text, lines):
    return next(line for line in lines.splitlines() if text in line)


def test_prints_arrive_with_the_name_of_their_task(heard, rt):
    assert rsim.get([greet.remote(number) for number in range(3)]) == [0, 1, 2]
    for number in range(3):
        heard.await_text("out", f"hello {number}\n")
        heard.await_text("err", f"careful {number}\n")
    assert re.match(r"\(greet pid=\d+.*\) hello 1$", line_with("hello 1", heard.out))
    assert re.match(r"\(greet pid=\d+.*\) careful 1$", line_with("careful 1", heard.err))
    assert "careful" not in heard.out


def test_every_line_has_its_prefix(heard, rt):
    @rsim.remote
    def talk():
        print("one\ntwo\n\nfour")
        print("no line break", end="")

    rsim.get(talk.remote())
    heard.await_text("out", "no line break\n")
    lines = [line for line in heard.out.splitlines() if line.startswith("(talk")]
    assert [line.partition(") ")[2] for line in lines] == [
        "one",
        "two",
        "",
        "four",
        "no line break",
    ]


def test_the_name_option_is_the_name_shown(heard, rt):
    rsim.get(greet.options(name="welcome").remote(9))
    heard.await_text("out", "hello 9\n")
    assert line_with("hello 9", heard.out).startswith("(welcome pid=")


def test_the_drivers_own_text_has_no_prefix(heard, rt):
    print("plain text")
    heard.await_text("out", "plain text\n")
    assert line_with("plain", heard.out) == "plain text"


def test_text_that_has_no_encoding_is_no_error(heard, rt):
    @rsim.remote
    def surrogate():
        print("half \ud800 a pair")

    rsim.get(surrogate.remote())
    heard.await_text("out", " a pair\n")


def test_a_task_that_closes_its_stream_closes_nobody_elses(heard, rt):
    @rsim.remote(max_calls=1)
    def close():
        sys.stdout.close()

    rsim.get(close.remote())
    rsim.get(greet.remote(1))
    print("the driver prints on")
    heard.await_text("out", "hello 1\n")
    heard.await_text("out", "the driver prints on\n")


def test_logging_in_a_task(heard, rt):
    @rsim.remote
    def warn():
        logger = logging.getLogger("some.library")
        handler = logging.StreamHandler()
        logger.addHandler(handler)
        logger.warning("look here")
        logger.removeHandler(handler)

    rsim.get(warn.remote())
    heard.await_text("err", "look here\n")
    assert line_with("look here", heard.err).startswith("(warn pid=")


def test_no_output_if_it_is_not_wanted(heard, init):
    init(num_cpus=2, log_to_driver=False)
    rsim.get([greet.remote(number) for number in range(5)])
    rsim.shutdown()
    heard.read()
    assert "hello" not in heard.out
    assert "careful" not in heard.err


def test_output_before_an_error_and_before_a_death(heard, rt):
    @rsim.remote(max_retries=0)
    def last_words(how):
        print(f"last words before {how}", flush=True)
        if how == "exit":
            import os

            os._exit(1)
        raise ValueError

    for how in ("error", "exit"):
        rsim.wait([last_words.remote(how)])
        heard.await_text("out", f"last words before {how}\n")


def test_logs_stay_where_the_user_wants_them(init, tmp_path):
    folder = tmp_path / "logs"
    init(num_cpus=1, log_dir=folder, log_to_driver=False)
    rsim.get(greet.remote(5))
    rsim.shutdown()
    kept = {path.suffix: path.read_text() for path in folder.iterdir()}
    assert kept == {".out": "hello 5\n", ".err": "careful 5\n"}


def test_where_no_logs_can_be_kept_is_told_at_once(init, tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FileExistsError, match=r"log_dir cannot be .*file'"):
        init(log_dir=file)
    with pytest.raises(TypeError, match="log_dir must be the path of a folder, not 5"):
        init(log_dir=5)


def quietly(self):
    raise ValueError("in the way")


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}])
def test_an_actor_that_can_write_itself_is_named_so(heard, rt, options):
    class Numbered:
        def __init__(self, number):
            self.number = number

        def speak(self):
            print(f"I am {self.number}")

        def __repr__(self):
            return f"Numbered\n{self.number}"

    class Mute(Numbered):
        __repr__ = quietly

    for kind in (Numbered, Mute):
        actors = [rsim.remote(kind).options(**options).remote(number) for number in (7, 8)]
        rsim.get([actor.speak.remote() for actor in actors])
        heard.await_text("out", "I am 8\n")
        heard.await_text("out", "I am 7\n")
        name = "Numbered 7" if kind is Numbered else "Mute"
        assert re.match(rf"\({name} pid=\d+.*\) I am 7$", line_with("I am 7", heard.out))
        heard.out = ""


def test_so_is_an_asynchronous_one(heard, rt):
    @rsim.remote
    class Server:
        async def speak(self):
            print("I serve")

        def __repr__(self):
            return "The server"

    server = Server.remote()
    rsim.get(server.speak.remote())
    heard.await_text("out", "I serve\n")
    assert line_with("I serve", heard.out).startswith("(The server pid=")
