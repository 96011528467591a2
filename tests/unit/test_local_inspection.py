"""The inspection of one machine: once in each interval, a process that ends, and none when the platform has ended."""

import asyncio
import sys

import psutil

from perch.local.inspection import LocalInspection

WRITES = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).open('a').write('x'); time.sleep(float(sys.argv[2]))"


def inspection(tmp_path, takes_s, interval_s=0.05):
    made = LocalInspection(
        "http://x", tmp_path / "t", tmp_path / "inspect.log", model="ads", registry="r", interval_s=interval_s
    )
    made._command = (sys.executable, "-c", WRITES, str(tmp_path / "runs"), str(takes_s))
    return made


async def kept_for(made, seconds):
    keeping = asyncio.create_task(made.keep())
    await asyncio.sleep(seconds)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


def test_one_follows_the_other_each_after_its_interval(tmp_path):
    asyncio.run(kept_for(inspection(tmp_path, 0), 4.5))
    assert len((tmp_path / "runs").read_text()) >= 2


def test_it_does_not_begin_with_the_platform(tmp_path):
    asyncio.run(kept_for(inspection(tmp_path, 0, interval_s=60), 0.5))
    assert not (tmp_path / "runs").exists()


def test_one_that_runs_ends_with_the_platform(tmp_path):
    asyncio.run(kept_for(inspection(tmp_path, 60), 1.5))
    assert (tmp_path / "runs").read_text() == "x"
    assert not [one for one in psutil.Process().children() if str(tmp_path) in " ".join(one.cmdline())]


def test_one_that_hangs_is_ended_and_told_of_and_the_next_one_comes(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("perch.local.inspection._LONGEST_S", 1.0)
    asyncio.run(kept_for(inspection(tmp_path, 60), 4.5))
    assert len((tmp_path / "runs").read_text()) >= 2
    assert "The inspection did not end within 1 s" in caplog.text
    assert not [one for one in psutil.Process().children() if str(tmp_path) in " ".join(one.cmdline())]


def test_one_that_cannot_be_begun_is_told_of_and_the_next_one_comes(tmp_path, caplog):
    made = inspection(tmp_path, 0)
    well, made._command = made._command, (str(tmp_path / "nothing"),)

    async def mended():
        keeping = asyncio.create_task(made.keep())
        await asyncio.sleep(0.5)
        made._command = well
        await asyncio.sleep(2.0)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(mended())
    assert "The inspection cannot be begun: " in caplog.text
    assert (tmp_path / "runs").exists()


def test_the_process_is_told_where_everything_is(tmp_path):
    made = LocalInspection("http://c", tmp_path / "t", tmp_path / "l", model="ads", registry="sqlite:///m.db")
    told = " ".join(made._command)
    assert "-m perch.judge.inspect --collector http://c" in told
    assert f"--token-file {tmp_path / 't'} --registry sqlite:///m.db --model ads" in told
