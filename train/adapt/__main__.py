from train.common.environment import start


def main() -> None:
    """The console script."""
    start("train.adapt.main")


if __name__ == "__main__":  # worker processes may import this file again
    main()
