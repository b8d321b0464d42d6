import json
import subprocess
import sys

import pytest

from selfsup.commands.evaluate import run
from selfsup.config import load_config
from selfsup.encoder import build_encoder, save_encoder
from selfsup.errors import UsageError


def test_an_encoder_is_judged_from_its_folder(tmp_path, capsys):
    folder = save_encoder(build_encoder("resnet18", 24, seed=0), tmp_path / "run" / "encoder")
    config = load_config(
        "evaluate", [f"encoder={folder}", "controls=false", "protocols.nshot.draws=2", "device=cpu"]
    )
    run(config)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["data"], results["n_train"], results["n_test"]) == ("digits", 1297, 500)
    assert results["encoder"] == json.loads((folder / "card.json").read_text())["fingerprint"]
    # Even random features of digits are far better than chance, 0.1.
    assert results["rows"][0]["scores"]["linear"]["value"] > 0.25
    said = capsys.readouterr().out
    assert "kNN" in said
    assert str(tmp_path / "run" / "results.json") in said.replace("\n", "")


def test_an_existing_file_is_refused_before_anything_is_loaded(tmp_path):
    out = tmp_path / "mine.json"
    out.write_text("mine")
    with pytest.raises(UsageError, match="is not overwritten"):
        run(load_config("evaluate", ["encoder=timm:resnet18", f"out={out}"]))
    assert out.read_text() == "mine"


def test_importing_the_command_imports_no_torch_and_the_suite_no_method():
    code = (
        "import sys; import selfsup.commands.evaluate; assert 'torch' not in sys.modules;"
        "import selfsup.evaluation;"
        "others = ('selfsup.methods', 'sklearn', 'pytorch_lightning', 'lightly');"
        "bad = [name for name in sys.modules if name.startswith(others)];"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
