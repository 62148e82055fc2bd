"""`python -m train.predict run=… source=… regions=…`: values from footage; see docs/reference/predict.md."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from textgen.common import hydra_app
from textgen.common.validation import validate
from train.config.networks import take_network
from train.predict.readouts import check_repeated_names
from train.predict.run import predict
from train.predict.settings import Settings
from train.predict.sources import list_sources, predict_many


@hydra.main(version_base="1.3", config_path=hydra_app.CONFIG_PATH, config_name="predict")
@hydra_app.command
def _main(config: DictConfig) -> None:
    check_repeated_names(hydra_app.given_settings())
    c = hydra_app.to_plain(config)
    take_network(c, hydra_app.given_settings())
    sources = list_sources(c["source"])
    if sources is None:
        print(predict(validate(Settings, c)), flush=True)
    else:
        print(predict_many(validate(Settings, {**c, "source": sources[0]}), sources), flush=True)


def main() -> None:
    """The console script."""
    hydra_app.run(_main, "predict")
