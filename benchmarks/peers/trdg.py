"""TextRecognitionDataGenerator. Its size of crop is fixed by `size` and `width`; the margins leave 9 pixels of text."""

from trdg.generators import GeneratorFromStrings


def batches(job):
    """Pillow images; what trdg drops, where text and ground are alike, it gives as None."""
    if job["full"]:  # 3: pictures; every image opens one
        look = {"background_type": 3, "image_dir": job["pieces"], "blur": 1, "random_blur": True}
        look["text_color"] = "#c8aa6e,#f0e6d2"
    else:  # 1: white, there is no other solid ground
        look = {"background_type": 1, "text_color": "#282828"}
    height, width = job["size"]
    margins = ((height - 9) // 2, 0, height - 9 - (height - 9) // 2, 0)
    generator = GeneratorFromStrings(
        job["texts"], fonts=job["fonts"], size=height, width=width, margins=margins, fit=True, **look
    )
    for image, _ in generator:
        yield [] if image is None else [image]
