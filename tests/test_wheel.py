"""The wheel alone, in an empty environment outside the checkout, learns an encoder.

Nothing is downloaded: the new environment borrows the dependencies of the one that runs the tests.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: object, cwd: Path) -> str:
    # The caller's path and environment must not lead back to the checkout.
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # hatchling itself, since a build in isolation would download it
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel in it and the dependencies of this one."""
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "no uv on the path; install it with `pip install uv`"
    folder = tmp_path_factory.mktemp("environment") / "venv"
    run(uv, "venv", "--offline", "--no-config", "--python", sys.executable, folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    install = (uv, "pip", "install", "--offline", "--no-config", "--no-deps", "--python", python, wheel)
    run(*install, cwd=folder.parent)
    site_packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    # Python reads the `.pth` files of the new environment only, so an editable install of the checkout in
    # the borrowed folders stays out.
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site_packages.strip()) / "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    return folder


def test_it_holds_the_library_and_its_configurations_and_nothing_else(wheel: Path) -> None:
    files = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    configs = ROOT / "configs"
    expected = {f"selfsup/configs/{path.relative_to(configs)}" for path in configs.rglob("*.yaml")}
    assert expected
    assert {name for name in files if name.startswith("selfsup/configs/")} == expected
    tops = {name.split("/")[0] for name in files}
    assert tops == {"selfsup", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "selfsup").rglob("*.py")}
    assert {name for name in files if name.endswith(".py")} == sources
    assert any(name.endswith("licenses/LICENSE") for name in files)


def test_it_leaves_the_name_ssl_to_the_standard_library(environment: Path, tmp_path: Path) -> None:
    code = "import selfsup, ssl; print(selfsup.__file__); assert not hasattr(ssl, '__path__')"
    imported = Path(run(environment / "bin" / "python", "-c", code, cwd=tmp_path).strip())
    assert imported.is_relative_to(environment)


def test_it_trains_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin" / "selfsup"
    assert "train" in run(command, "--help", cwd=tmp_path)
    run(command, "train", "method=simclr", "data=digits", "trainer.max_steps=3", cwd=tmp_path)
    encoder = tmp_path / "runs" / "latest" / "encoder"
    assert {path.name for path in encoder.iterdir()} >= {"config.json", "model.safetensors", "card.json"}
    code = "import selfsup; print(selfsup.load_encoder('runs/latest/encoder').dim)"
    assert int(run(environment / "bin" / "python", "-c", code, cwd=tmp_path)) > 0
