from train.common.environment import start


def main() -> None:
    """The console script."""
    start("train.cascade.main")


if __name__ == "__main__":
    main()
