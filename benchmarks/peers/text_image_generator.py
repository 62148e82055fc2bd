"""text-image-generator, written in Rust. Fonts and pictures are read once."""

import os
import random
from pathlib import Path

CONFIG = """
FONT:
  {{font_dir: "{fonts}", chinese_ch_file_path: "{scratch}/characters.txt",
    main_font_list_file_path: "{scratch}/main.txt",
    font_size: {em}, line_height: {height}, font_img_width: {width}, font_img_height: {height}}}
CV:
  {{box_prob: 0.0, perspective_prob: 0.0, perspective_x: [-1.0, 1.0, "g"], perspective_y: [-1.0, 1.0, "g"],
    perspective_z: [-1.0, 1.0, "g"], blur_prob: 0.5, blur_sigma: [0.0, 1.0, "u"], filter_prob: 0.0, emboss_prob: 0.5,
    sharp_prob: 0.5}}
MERGE:
  {{bg_dir: "{pictures}", bg_height: {height}, bg_width: {width}, height_diff: 4, bg_alpha: [0.5, 1.5, "g"],
    bg_beta: [-50, 50, "g"], font_alpha: [0.6, 1.0, "u"], reverse_prob: 0.5}}
"""


def batches(job):
    """Arrays: RGB (22, w, 3) of the text's own width without effects, grey (22, 52) with them."""
    scratch = Path(job["scratch"])
    (scratch / "fonts.conf").write_text("<fontconfig></fontconfig>")
    os.environ["FONTCONFIG_FILE"] = str(scratch / "fonts.conf")  # it would add the system's fonts to ours
    (scratch / "characters.txt").write_text("".join(f"{character}\t1\n" for character in "0123456789.k"))
    (scratch / "main.txt").write_text("none")  # for characters without a font: there are none
    height, width = job["size"]
    config = CONFIG.format(
        fonts=job["font_folder"], pictures=job["pictures"], scratch=scratch, em=job["em"], height=height, width=width
    )
    (scratch / "config.yaml").write_text(config)

    from text_image_generator import Generator  # noqa: PLC0415  # after the environment is set

    generator = Generator(str(scratch / "config.yaml"))
    fonts = [[font] for font in generator.font_list]
    while True:
        for text in job["texts"]:
            font = random.choice(fonts)  # one a string: left alone it takes another for every character
            letters = [(character, font) for character in text]
            yield [generator.gen_image_from_text_with_font_list(letters, (232, 200, 120), (16, 24, 32), job["full"])]
