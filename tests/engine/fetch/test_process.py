import os
import time

import pytest

from engine.errors import Code, EngineError
from engine.fetch import process
from engine.fetch.process import Rate, measure_folder, run_job
from engine.fetch.proxy import Proxy
from engine.fetch.ytdlp_child import FetchRequest
from engine.settings import FetchLimits

LIMITS = FetchLimits(max_bytes=100_000, describe_s=20.0)


@pytest.fixture
def run(monkeypatch, tmp_path, web):
    """Run a child of these lines instead of our own: one that hostile media has taken over, say."""

    def call(lines: str, limits: FetchLimits = LIMITS):
        monkeypatch.setattr(process, "BOOT", f"import json, os, sys, time\nwork = json.load(sys.stdin)\n{lines}")
        with Proxy(limits, web.network) as proxy:
            work = FetchRequest(
                "http://a.example/",
                str(tmp_path),
                proxy.child_end.fileno(),
                True,
                0,
                limits.max_bytes,
                9.0,
                9.0,
                9,
                2**30,
            )
            return run_job(work, proxy, limits, lambda *_: None)

    return call


def test_what_the_child_says_is_made_what_it_should_be(run):
    result = run("""
for line in ('no json', '[1]', '{"kind": "begun", "layers": ["a", 2], "version": "1\\\\u001b[31m"}',
             '{"kind": "found", "title": "t\\\\u0000\\\\u202e' + 'x' * 900 + '", "duration_s": "long", "url": 5}',
             '{"kind": "progress", "done": "x", "total": []}', '{"kind": "?"}', '{"kind": "finished"}'):
    print(line, flush=True)
""")
    assert result.layers == ("a", "2") and result.version == "1[31m" and len(result.title) == 300
    assert (result.duration_s, result.url, result.progress) == (None, "5", (0, 0)) and result.title.isprintable()


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ("", Code.FETCH_FAILED),
        ("os._exit(0)", Code.FETCH_FAILED),
        ("os.kill(os.getpid(), 9)", Code.FETCH_FAILED),
        ("print('x' * 5_000_000, flush=True)", Code.FETCH_FAILED),
        ('while True: print(\'{"kind": "progress"}\')', Code.FETCH_FAILED),
        ('print(\'{"kind": "refused", "code": "NO_MEDIA"}\')', Code.NO_MEDIA),
        ('print(\'{"kind": "refused", "code": "__class__", "text": "{0}"}\')', Code.FETCH_FAILED),
        ('print(\'{"kind": "refused", "code": "NO_MEDIA"}\\n{"kind": "finished"}\')', Code.NO_MEDIA),
        ("open(os.path.join(work['folder'], 'x'), 'wb').write(bytes(200_000)); time.sleep(300)", Code.MEDIA_TOO_LARGE),
    ],
)
def test_child_that_does_not_what_it_should_is_an_error_and_gone(run, lines, error):
    begun_s = time.monotonic()
    with pytest.raises(EngineError) as raised:
        run(lines)
    assert raised.value.code == error and time.monotonic() - begun_s < 100


def test_child_has_an_empty_environment_and_only_its_own_files(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    with open(os.devnull) as kept:  # noqa: PTH123 - a file of ours that a child must not have
        os.set_inheritable(kept.fileno(), True)
        result = run("""
found = sorted(os.environ) + sorted(os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd') else [])
found += [os.getcwd(), str(os.getsid(0) == os.getpid())]
print(json.dumps({"kind": "found", "title": " ".join(found), "url": str(work["control"])}))
print('{"kind": "finished"}', flush=True)
""")
    words = result.title.split()
    assert "SECRET" not in words and "PYTHONPATH" not in words and "HOME" in words
    assert words[-2:] == [str(tmp_path), "True"]
    descriptors = {int(word) for word in words if word.isdigit()}
    assert len(descriptors - {0, 1, 2, int(result.url)}) <= 1  # that of the listing itself


def test_rate_is_reported_over_one_window():
    rate = Rate(10.0)
    assert rate.measure(0.0, 0) is None and rate.measure(9.0, 9000) is None
    assert rate.measure(10.0, 10_000) == 1000.0
    assert rate.measure(25.0, 10_000) == pytest.approx(0.0, abs=70.0)
    assert rate.measure(40.0, 10_000) == 0.0


def test_folder_is_measured_below_and_not_through_links(tmp_path):
    (tmp_path / "a").write_bytes(bytes(10))
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b").write_bytes(bytes(5))
    (tmp_path / "loop").symlink_to(tmp_path)
    assert 15 <= measure_folder(tmp_path) < 15 + 4096
