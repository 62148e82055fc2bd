"""`python -m train.predict`: read values from footage with trained networks."""

from train.common.environment import start


def main() -> None:
    """The console script."""
    start("train.predict.main")


if __name__ == "__main__":
    main()
