"""A TFDS dataset of encoded films, or of frames, is read without TensorFlow."""

import sys

import numpy as np
import pytest

from sorajax.data.videos.decode import probe, read_clip
from sorajax.data.videos.listing import listing
from tests.data.videos.films import film, moving, numbers

tfds = pytest.importorskip("tensorflow_datasets")


class Films(tfds.core.GeneratorBasedBuilder):
    """Three films, as bytes."""

    VERSION = tfds.core.Version("1.0.0")
    FOLDER = None

    def _info(self):
        features = {
            "video": tfds.features.Tensor(shape=(), dtype=np.object_),
            "caption": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(3):
            content = film(self.FOLDER / f"{number}.mp4", 9 + number).read_bytes()
            yield number, {"video": content, "caption": f"film {9 + number}"}


class Frames(tfds.core.GeneratorBasedBuilder):
    """Two films, as frames."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "video": tfds.features.Tensor(shape=(9, 32, 48, 3), dtype=np.uint8),
            "label": tfds.features.ClassLabel(names=["jumping_jacks", "rope"]),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(2):
            yield number, {"video": moving(number, 9), "label": number}


def test_tfds_videos_in_encoded_form_are_read(tmp_path):
    Films.FOLDER = tmp_path
    Films(data_dir=tmp_path / "tfds", file_format="array_record").download_and_prepare()
    for source in (f"tfds:films:train@{tmp_path}/tfds", f"tfds:@{tmp_path}/tfds/films/1.0.0"):
        entries = listing(source)
        assert sorted(entry.caption for entry in entries) == ["film 10", "film 11", "film 9"]
        for entry in entries:
            count = int(entry.caption.split()[1])
            assert probe(entry.path).seconds == pytest.approx(count / 8)
            assert numbers(read_clip(entry.path, 0, count, 8.0)) == list(range(count))
    assert "tensorflow" not in sys.modules


def test_tfds_frames_are_read(tmp_path):
    Frames(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    entries = listing(f"tfds:frames:train@{tmp_path}")
    assert sorted(entry.caption for entry in entries) == ["jumping jacks", "rope"]
    for entry in entries:
        expected = moving(int(entry.caption == "rope"), 9)
        np.testing.assert_array_equal(read_clip(entry.path, 0, 9, 8.0), expected)


@pytest.mark.parametrize(
    ("source", "said"),
    [("tfds:", "is no dataset: write tfds:NAME"), ("tfds:none_such:train@/tmp", "none_such")],
)
def test_a_wrong_tfds_source_is_one_line(source, said):
    with pytest.raises(ValueError, match=said):
        listing(source)
