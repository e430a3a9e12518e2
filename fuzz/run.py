"""Fuzzer front end: run the target under atheris for some seconds, and sum up the findings: `make fuzz SECONDS=600`.

`python -m fuzz.run INPUT ...` replays inputs without atheris. The fuzzer itself runs in a process of its own, which it
ends; an input with a finding stays in `fuzz/found`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FOUND = Path(__file__).parent / "found"
_LIMITS = (
    "-max_len=65536",
    "-timeout=20",  # seconds for one input: a reader that is quadratic is a finding
    "-rss_limit_mb=2048",  # and so is memory out of proportion
    "-print_final_stats=1",
    f"-artifact_prefix={FOUND}/",
)
_INSTRUMENTED = ("v176", "v200", "v226", "protobuf")  # generated source, by the end of its title
_STATUS = re.compile(r"#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+)")
_CHATTER = re.compile(r"INFO: Instrumenting|WARNING: Failed to find function|\"|#+ .* [dD]ictionary")


def main(arguments: list[str]) -> int:
    """Run the command, and return the exit status: 1 if there are findings."""
    match arguments:
        case ["--child", *options]:
            _fuzz(options)
        case ["--seconds", seconds]:
            return _campaign(int(seconds))
        case [_, *_]:
            return _replay([Path(path) for path in arguments])
    print(__doc__)
    return 2


def _campaign(seconds: int) -> int:
    """Write seeds to a temporary directory, run the fuzzer on them, and print a summary of its output."""
    from fuzz.seeds import seeds  # noqa: PLC0415 - imports the codec, which the child must import itself

    FOUND.mkdir(exist_ok=True)
    before = set(FOUND.iterdir())
    executions = coverage = features = 0
    with tempfile.TemporaryDirectory(prefix="ibbridge-fuzz-") as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        command = [sys.executable, "-m", "fuzz.run", "--child", corpus, f"-max_total_time={seconds}", *_LIMITS]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
            for line in child.stdout or ():
                status = _STATUS.match(line)
                if status:
                    executions, coverage, features = int(status[1]), int(status[3]), int(status[4])
                if not _CHATTER.match(line) and not (status and status[2] in ("NEW", "REDUCE")):
                    print(line, end="", flush=True)
    found = sorted(set(FOUND.iterdir()) - before)
    print(f"\n{executions} executions, coverage {coverage} ({features} features), {len(found)} findings")
    for path in found:
        print(f"  again, without atheris: {sys.executable} -m fuzz.run {path.relative_to(Path.cwd())}")
    if child.returncode and not found:
        print(f"the fuzzer ended with {child.returncode} and left no input")
    return 1 if found or child.returncode else 0


def _replay(inputs: list[Path]) -> int:
    from fuzz.decode import check  # noqa: PLC0415 - as above

    for path in inputs:
        check(path.read_bytes())
        print(f"{path}: nothing wrong")
    return 0


def _fuzz(options: list[str]) -> None:
    """Fuzz until libFuzzer ends the process: the function never returns."""
    import atheris  # noqa: PLC0415 - only this needs it

    with atheris.instrument_imports(include=["ibbridge.codec"]):
        from fuzz import decode  # noqa: PLC0415 - to be instrumented
        from ibbridge.codec.codegen import SourceWriter  # noqa: PLC0415

    compiled = SourceWriter.compile

    def instrumented(source: SourceWriter, title: str, function: str, namespace: Mapping[str, Any]) -> Any:
        """Compile, and instrument the code for some versions; all versions would take minutes.

        Readers and writers are generated at run time, where no import hook sees them.
        """
        made = compiled(source, title, function, namespace)
        return atheris.instrument_func(made) if title.endswith(_INSTRUMENTED) else made

    SourceWriter.compile = instrumented  # type: ignore[method-assign, assignment]
    atheris.Setup([sys.argv[0], *options], decode.check)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
