"""A precision that cannot be is one sentence, before any job loads torch."""

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir

from inferbench.run.compose import register, resolve
from inferbench.settings.job import ConfigError
from inferbench.settings.repository import HYDRA_DIR, SCRIPTS

PRECISIONS = sorted(
    file.stem for file in (HYDRA_DIR / "precision").glob("*.yaml") if not file.stem.startswith("base")
)


def resolved(*overrides, primary="benchmark"):
    register()
    with initialize_config_dir(str(HYDRA_DIR), version_base="1.3"):
        return resolve(compose(primary, ["output=none", *overrides]))


def experiment(name, *overrides):
    return resolved(f"experiment={name}", *overrides, primary="run_experiment")


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_precision_has_a_library_that_takes_its_options(name):
    assert resolved(f"precision={name}").precision.name == name


REFUSED = {
    "unknown library": (
        ("precision.library=bits",),
        "precision bf16: there is no library bits; there are bitsandbytes, plain.",
    ),
    "a module that is no library": (
        ("precision.library=options",),
        "precision bf16: there is no library options; there are bitsandbytes, plain.",
    ),
    "no library": (("precision.library=???",), "precision.library: "),
    "unknown option": (
        ("precision=nf4", "+precision.options.group_size=64"),
        "precision nf4, library bitsandbytes: there is no option group_size; there is quantisation,"
        " double_quantisation, outlier_threshold.",
    ),
    "option of another library": (
        ("+precision.options.outlier_threshold=5.0",),
        "precision bf16, library plain: there is no option outlier_threshold; there is none.",
    ),
    "wrong type": (
        ("precision=nf4", "+precision.options.double_quantisation=maybe"),
        "precision nf4, library bitsandbytes: option double_quantisation: Value 'maybe' is not a valid bool",
    ),
    "unknown quantisation": (
        ("precision=nf4", "precision.options.quantisation=nf3"),
        "option quantisation: Invalid value 'nf3', expected one of [int8, nf4, fp4]",
    ),
    "no quantisation": (("precision.library=bitsandbytes",), "option quantisation: "),
    "an option that this quantisation has not": (
        ("precision=nf4", "+precision.options.outlier_threshold=5.0"),
        "precision nf4: outlier_threshold is no option of nf4; leave it out.",
    ),
}


@pytest.mark.parametrize("overrides, sentence", REFUSED.values(), ids=REFUSED)
def test_what_a_precision_cannot_say_is_told_in_a_sentence(overrides, sentence):
    with pytest.raises(ConfigError) as refused:
        resolved(*overrides)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_the_precisions_of_an_experiments_settings_are_looked_at_too():
    with pytest.raises(ConfigError, match="precision fp32, library plain: there is no option a"):
        experiment("quality", "+experiment.reference.options.a=1")
    with pytest.raises(ConfigError, match="option quantisation: Invalid value 'nf3'"):
        experiment("speculative", "experiment.draft.precision.options.quantisation=nf3")


def test_options_are_checked_without_torch():
    """Of a job only the process that measures imports it, which takes seconds."""
    code = (
        "import sys\n"
        "from inferbench.precision.by_name import library\n"
        "from inferbench.settings.job import Dtype, PrecisionConfig\n"
        "nf4 = PrecisionConfig('nf4', Dtype.bfloat16, 'bitsandbytes', {'quantisation': 'nf4'})\n"
        "assert library(nf4).options(nf4)['outlier_threshold'] == 6\n"
        "assert not {'torch', 'transformers', 'bitsandbytes'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=True)
