"""``monosemy doctor``: what is in use and why, how fast it is, what to do about it."""

from __future__ import annotations

from typing import Any

import click

from monosemy.cli.options import (
    CONTEXT_SETTINGS,
    json_option,
    print_json,
    quiet_libraries,
    quiet_option,
)


@click.command("doctor", context_settings=CONTEXT_SETTINGS)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool) -> None:
    """Say what this installation has, which kernels run where and why, and how fast it is.

    Measures this machine for some two seconds: products, copies, a small training step. The first
    time, the kernels are compiled before, which takes up to a minute. What would make it faster, or
    work at all, stands at the end as things to do; they are no errors.

    \b
    Examples:
      monosemy doctor
      monosemy doctor --json > machine.json
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.recipes.doctor import examine

    found = examine(choose(quiet or as_json))
    print_json(found) if as_json else click.echo("\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    processor, threads = found["processor"], found["threads"]
    blocks = {
        "versions": [", ".join(f"{n} {v or 'not installed'}" for n, v in found["versions"].items())],
        "processor": [
            f"{processor['name']} ({', '.join(processor['flags']) or 'no flags known'})",
            f"torch's vectors {processor['vectors']}, oneDNN {_yes(processor['onednn'])}, "
            f"MKL {_yes(processor['mkl'])}",
        ],
        "threads": [f"torch {threads['torch']}, workers {threads['workers']}, "
                    f"cores {threads['cores']}"],
        "devices": [f"{name}: {what}" for name, what in found["devices"].items()],
        "kernels": [_kernels(row, found["devices"]) for row in found["kernels"]],
        "speeds": [line for name, speed in found["speeds"].items() for line in _speeds(name, speed)],
        "optional": [_optional(name, part) for name, part in found["optional"].items()],
        "cache": [f"{found['cache']['folder'] or 'none'} "
                  f"({'writable' if found['cache']['writable'] else 'not writable'})"],
        "specimen": ["found" if found["specimen"]["found"] else "not found"],
        "to do": found["advice"] or ["nothing"],
    }  # fmt: skip
    return [
        f"{name if number == 0 else '':<11}{line}"
        for name, lines in blocks.items()
        for number, line in enumerate(lines)
    ]


def _kernels(row: dict[str, Any], here: dict[str, str]) -> str:
    place = f"{row['device']} {row['dtype']}"
    proposals = "; bfloat16 proposals pay" if row["proposals"] else ""
    absent = "" if row["device"] in here else " (not here)"
    return f"{place:<14} {row['kernels']:<15} {row['reason']}{proposals}{absent}"


def _speeds(name: str, speed: dict[str, Any]) -> list[str]:
    if speed["problem"]:
        return [f"{name}: {speed['problem']}"]
    shape, proposals = speed["shape"], speed["step_ms_proposals"]
    with_them = f", {proposals:,.1f} ms with bfloat16 proposals" if proposals else ""
    return [
        f"{name}: products {speed['float32_gflops']:,.0f} GFLOP/s in float32, "
        f"{speed['bfloat16_gflops']:,.0f} in bfloat16; copies {speed['copy_gb_s']:,.1f} GB/s",
        f"{name}: a training step {speed['step_ms']:,.1f} ms{with_them} ({shape['batch']:,} "
        f"activations {shape['width']} wide, {shape['latents']:,} latents, k = {shape['k']})",
    ]


def _optional(name: str, part: dict[str, Any]) -> str:
    if part["installed"]:
        return f"{name}: installed ({part['for']})"
    return f"{name}: not installed ({part['for']}); {part['install']}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
