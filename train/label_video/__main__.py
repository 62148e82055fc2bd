"""`python -m train.label_video`: label the frames of a video by an object detector."""

from train.common.environment import start


def main() -> None:
    """The console script."""
    start("train.label_video.main")


if __name__ == "__main__":
    main()
