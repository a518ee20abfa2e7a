"""Prepares videos for training.

    python -m sorajax.encode videos --out latents/mine                        split into shots, filtered, resized
    python -m sorajax.encode videos --out latents/mine --vae runs/videos_vae  and encoded to latents
    python -m sorajax.encode videos --out latents/mine --vae Wan2.1-T2V-1.3B --text Wan2.1-T2V-1.3B
    python -m sorajax.encode videos --out latents/mine --captioner http://localhost:8000/v1 --caption-model NAME
    python -m sorajax.encode manifest.csv --out latents/mine --buckets 17x64x64 33x64x64 1x64x64 --fps 8
    python -m sorajax.encode gs-listing.jsonl --out /mnt/shared/mine --beam runner=FlinkRunner flink_master=host:8081

VIDEOS is a folder (with the caption of each video beside it in STEM.txt or STEM.json), a .csv, .tsv, .jsonl or .parquet
with columns path, caption, start and end, a WebDataset .tar, or tfds:NAME:SPLIT@FOLDER. `sorajax.train` reads the
folder OUT as --data.folder; both may be addresses, e.g. gs://bucket/mine. Several processes (--coordinator, or a
cluster that JAX detects) share the encoding, and process 0 prepares. After an interruption at any moment, the same
command continues. OUT/report.json counts accepted and rejected clips; OUT/clips/*.json give the reason for each clip,
and name each broken file.
With --captioner each clip has a short and a detailed caption beside its own one, in OUT/captions (docs/captions.md).

Needs the extra `data` (Apache Beam, PySceneDetect). Exit codes: 0 done, 1 failed, 2 the request is invalid, 130
interrupted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from sorajax.commands.captioners import NamedCaptioner, is_address, remote_captioner, trained_captioner
from sorajax.commands.failures import complain
from sorajax.commands.parsing import parse_options
from sorajax.copies import WorkingCopy, fetched
from sorajax.data.buckets import Bucket
from sorajax.data.videos.captioning import caption_clips, report_captions, written_captions
from sorajax.data.videos.filters import Filters
from sorajax.data.videos.preparation import Preparation, prepare
from sorajax.devices.distributed import (
    DistributedConfig,
    Processes,
    barrier,
    exit_if_one_of_several,
    join,
    print_any_name,
)
from sorajax.errors import BadRequest
from sorajax.files import Address, as_path


@dataclass(frozen=True)
class Options:
    """What to prepare, and how."""

    videos: tyro.conf.Positional[str]
    """A folder, manifest, tar or TFDS dataset."""
    out: Path
    """The folder for clips and latents, or an address, whose files are copied from and to a folder of the cache."""
    vae: Path | None = None
    """The autoencoder that encodes the clips: an exported one, its training directory, or a whole model. None leaves
    the clips as pixels."""
    text: Path | None = None
    """A model, ours or open weights, whose text encoder encodes the captions. None leaves them as text."""
    captioner: str | None = None
    """What writes captions of the clips: world, the package's captioner; the folder of a training run of
    configs/captioner.py; or the URL of a chat server. None leaves the clips with their own captions."""
    caption_model: str | None = None
    """The model of the chat server."""
    caption_parallel: int = 4
    """Clips that the chat server captions at the same time."""
    buckets: tuple[str, ...] = ("17x64x64", "17x64x96", "17x96x64", "33x64x64")
    """Clip shapes, FRAMESxHEIGHTxWIDTH; each clip goes to the bucket that crops and cuts the least of it."""
    batch: int = 8
    """Clips encoded together."""
    fps: float = 8.0
    """Frames per second of all clips."""
    filters: Filters = Filters()
    most_broken: float = 0.1
    """Share of files that may be broken, 0 to 1; with more the command fails."""
    videos_per_part: int = 64
    """Files per part; after a failure a part is prepared again as a whole."""
    beam: tuple[str, ...] = ()
    """Options of Apache Beam as name=value, e.g. runner=DataflowRunner; without any, all cores of this machine work."""
    together: Annotated[DistributedConfig, tyro.conf.arg(name="")] = DistributedConfig()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    print_any_name()
    try:
        options = parse_options(Options, "python -m sorajax.encode", argv, __doc__)
        settings = Preparation(
            buckets=tuple(parse_bucket(text, options.batch) for text in options.buckets),
            fps=options.fps,
            filters=options.filters,
            videos_per_part=options.videos_per_part,
            most_broken=options.most_broken,
        )
        remote = remote_captioner_of(options)
        if options.beam and isinstance(as_path(options.out), Address):
            raise BadRequest(f"--beam with --out {as_path(options.out)}: name a folder that all workers see")
    except SystemExit as exit:  # tyro has shown the help
        return int(exit.code or 0)
    except ValueError as error:
        return complain(error, 2)
    try:
        processes = join(options.together)
        if processes.count > 1:
            check_hosts(options)
        captioner = remote
        if options.captioner is not None and remote is None:
            captioner = trained_captioner(options.captioner)
        out = WorkingCopy(as_path(options.out))
        try:
            make(options, settings, captioner, out, processes)
        finally:  # an interruption leaves what is there
            out.publish()
        if processes.count > 1:
            barrier(f"encoded {options.out}")
    except (ValueError, OSError, RuntimeError) as error:
        exit_if_one_of_several(error, remedy="start all processes again")
        return complain(error, 1)
    except KeyboardInterrupt:
        return complain("interrupted: run the same command again to continue", 130)
    if processes.index == 0:
        print(f"train on it with --data.folder {as_path(options.out)}")
    return 0


def make(
    options: Options, settings: Preparation, captioner: NamedCaptioner | None, out: WorkingCopy, processes: Processes
) -> None:
    """Prepares, encodes and captions. Several processes publish what they write before others read it."""

    def together(done: str) -> None:
        if processes.count > 1:
            out.publish()
            barrier(f"{done} {options.out}")
            out.update()

    if processes.index == 0:
        out.update()
        videos = options.videos
        if isinstance(as_path(videos), Address):
            videos = str(fetched(as_path(videos)))
        if options.text is not None and captioner is None:
            check(videos, out.folder)
        prepare(videos, out.folder, settings, [f"--{option}" for option in options.beam])
    together("prepared")
    if options.vae is not None:
        encode(out.folder, options.vae)
    if captioner is not None:
        caption_clips(out.folder, captioner.caption, captioner.made_by, captioner.parallel)
        together("captioned")
    if processes.index == 0:
        report_captions(out.folder)
    if options.text is not None:
        encode_text(out.folder, options.text)


def check_hosts(options: Options) -> None:
    """Raises ValueError, before anything is computed, if processes have other code, weights or options."""
    from sorajax.devices import fingerprint
    from sorajax.devices.exchange import check_same
    from sorajax.pretrained.hub import resolve_model

    weights = [fingerprint.files(resolve_model(folder)) for folder in (options.vae, options.text) if folder]
    asked = repr(replace(options, together=DistributedConfig()))
    check_same({"code": fingerprint.code(), "weights": "\n".join(weights), "options": asked})


def check(videos: str, folder: Path) -> None:
    """Raises ValueError if no video has a caption."""
    from sorajax.data.videos.clips import entries_of, is_prepared
    from sorajax.data.videos.listing import check_captions

    if is_prepared(folder) and written_captions(folder):
        return
    check_captions(entries_of(folder if is_prepared(folder) else Path(videos)), videos)


def encode(folder: Path, vae: Path) -> None:
    """Encodes a prepared folder with the autoencoder in `vae`."""
    from sorajax.data.videos.encoding import encode_clips
    from sorajax.devices.compilation import enable_compilation_cache
    from sorajax.training.picture import open_encoder

    enable_compilation_cache()
    encode_clips(folder, *open_encoder(vae))


def remote_captioner_of(options: Options) -> NamedCaptioner | None:
    """The captioner that is a chat server's, if the options name one. Raises BadRequest."""
    if options.captioner is not None and is_address(options.captioner):
        return remote_captioner(options.captioner, options.caption_model, options.caption_parallel)
    if options.caption_model is not None:
        raise BadRequest("--caption-model is a chat server's: give its URL with --captioner")
    return None


def encode_text(folder: Path, text: Path) -> None:
    """Encodes the captions of a prepared folder with the text encoder in `text`."""
    from sorajax.data.videos.clips import captions_of
    from sorajax.devices.compilation import enable_compilation_cache
    from sorajax.training.frozen import open_text

    enable_compilation_cache()
    open_text(text).contexts({folder: captions_of(folder)})


def parse_bucket(text: str, batch: int) -> Bucket:
    """A bucket from FRAMESxHEIGHTxWIDTH. Raises ValueError for another form."""
    sizes = text.lower().split("x")
    if len(sizes) != 3 or not all(size.isdigit() for size in sizes):
        raise ValueError(f"--buckets {text} is not FRAMESxHEIGHTxWIDTH, e.g. 17x64x64")
    frames, height, width = (int(size) for size in sizes)
    return Bucket(frames, height, width, batch_size=batch)
