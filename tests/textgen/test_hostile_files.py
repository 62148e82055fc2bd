"""Hostile files of every kind that textgen reads: each is refused in one line, quickly and in little memory.

`hostile_child.py` writes and reads them, all in one process, so that libraries are imported once.
"""

import pytest
from hostile import Results, check_refused, read_hostile_files

KINDS = {  # what the message says
    "yaml_aliases": "aliases",
    "yaml_merged_aliases": "aliases",
    "yaml_alias_within_itself": "holds itself",
    "yaml_long_text_repeated": "characters, with its aliases",
    "yaml_references": "more than 2,000 interpolations",
    "yaml_references_in_texts": "more than 2,000 interpolations",
    "yaml_nested": "deep",
    "yaml_number": "a number of 600,001 characters",
    "yaml_tag": "holds the tag !!python",
    "yaml_large": "more than 2 MiB",
    "yaml_code_for_hydra": "names code",
    "yaml_code_at_the_end": "names code",
    "yaml_code_at_the_end_with_aliases": "names code",
    "yaml_error_at_the_end": "is no YAML",
    "yaml_hydra_at_the_end": "has hydra: and more than 64 KiB",
    "yaml_command_for_the_launcher": "hydra.launcher, which belongs to the command line",
    "yaml_references_in_a_setting_of_hydra": "more than 2,000 interpolations",
    "yaml_regions": "aliases",
    "spec_of_a_trillion_digits": "more than 10000 classes",
    "spec_of_a_trillion_values": "more than 100000 values",
    "spec_within_itself": "298 characters long",
    "font_of_two_gigabytes": "larger than 32 MB",
    "font_of_lying_tables": "cannot be read as TrueType",
    "picture_of_many_pixels": "more than 50,000,000 pixels",
    "picture_of_two_gigabytes": "more than 256 MiB",
    "picture_with_a_packed_text": "cannot be read as a picture",
    "video_of_many_pixels": "declares frames of 14000×14000",
    "video_of_other_pixels_later": "no frame that can be decoded",
    "video_without_compression": "declares frames of 14000×14000",
    "manifest_of_absurd_counts": "damaged",
    "manifest_of_many_lists": "manifest.json is too large",
    "manifest_nested": "manifest.json is damaged",
    "array_of_absurd_shape": "holds no array of numbers",
    "cut_index_outside": "not inside the folder",
    "index_of_one_line": "more than 1,048,576 characters",
    "labels_of_one_line": "more than 64 MiB",
    "labels_of_wide_characters": "beyond U+FFFF",
    "label_table_of_one_line": "more than 1,048,576 characters",
    "label_table_of_one_header": "more than 1,048,576 characters",
    "parquet_of_many_rows": "more than 200,000,000 rows",
    "parquet_of_long_names": "more than 1,000 characters",
    "json_beside_a_label_table": "damaged",
    "cifar_pickle_of_code": "posix.mkdir",
    "cifar_pickle_of_lying_lengths": "its end is missing",
    "cifar_pickle_of_repeated_lists": "holds no data and labels",
    "cifar_archive_bomb": "larger than any archive of CIFAR",
    "cifar_archive_of_members": "larger than any archive of CIFAR",
    "cifar_parquet_bomb": "more than 256 MiB",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_hostile_files("textgen", tmp_path_factory.mktemp("hostile"))


def test_every_kind_is_here(results: Results) -> None:
    assert {*results} == {*KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_file_is_refused(results: Results, kind: str) -> None:
    check_refused(results[kind], KINDS[kind])
