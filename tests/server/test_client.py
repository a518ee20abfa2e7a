"""OpenAI's published client for videos works against a running server."""

import asyncio
import base64
import io

import openai
import pytest
from openai import AsyncOpenAI
from PIL import Image

from sorajax.media.video import Video
from tests.server.conftest import PROMPT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def client(server):
    return server.client()


@pytest.fixture(scope="module")
def made(client):
    """A finished video, asked for as clients of the closed API did."""
    return client.videos.create_and_poll(prompt=PROMPT, model="sora-2", size="1280x720", seconds="1")


def saved(client, name, folder):
    path = folder / "clip.mp4"
    path.write_bytes(client.videos.download_content(name).read())
    return Video.load(path)


def test_openai_models_and_sizes_are_accepted_and_the_answer_states_what_was_generated(client, made, tmp_path):
    assert (made.status, made.progress, made.object) == ("completed", 100, "video")
    assert made.model == client.models.list().data[0].id
    assert (made.size, made.seconds, made.prompt, made.error) == ("24x16", "1.125", PROMPT, None)
    assert made.created_at <= made.completed_at
    video = saved(client, made.id, tmp_path)
    assert video.frames.shape == (9, 16, 24, 3)
    assert video.metadata["prompt"] == PROMPT


def test_previews_are_images(client, made):
    thumbnail = Image.open(io.BytesIO(client.videos.download_content(made.id, variant="thumbnail").read()))
    sheet = Image.open(io.BytesIO(client.videos.download_content(made.id, variant="spritesheet").read()))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (24, 16))
    assert (sheet.format, sheet.size) == ("JPEG", (96, 48))


def test_a_remix_names_its_source(client, made):
    video = client.videos.poll(client.videos.remix(made.id, prompt="a blue ball bounces").id)
    assert (video.status, video.remixed_from_video_id, video.seconds) == ("completed", made.id, made.seconds)


def test_an_edit_takes_a_file_or_an_id(client, made, clip):
    video = client.videos.poll(client.videos.edit(prompt="a blue ball", video=clip).id)
    assert (video.status, video.size, video.seconds) == ("completed", "24x16", "1.125")
    by_id = {"video": {"id": made.id}, "strength": 0.5}
    video = client.videos.poll(client.videos.edit(prompt="a blue ball", video=openai.omit, extra_body=by_id).id)
    assert (video.status, video.seconds) == ("completed", made.seconds)


def test_an_extension_reports_the_total_length(client, clip):
    asked = client.videos.extend(prompt=PROMPT, seconds="1", video=clip.read_bytes())
    video = client.videos.poll(asked.id)
    assert (video.status, video.seconds, asked.seconds) == ("completed", "2.125", "2.125")


def test_an_input_reference_is_the_first_frame(client, picture):
    """As a file, as an uploaded file's id, and as a data URL."""
    file = client.files.create(file=("red.png", picture), purpose="vision")
    data = "data:image/png;base64," + base64.b64encode(picture).decode()
    for reference in (("a.png", picture), {"file_id": file.id}, {"image_url": data}):
        if isinstance(reference, tuple):
            video = client.videos.create_and_poll(prompt=PROMPT, input_reference=reference)
        else:
            video = client.videos.create_and_poll(prompt=PROMPT, extra_body={"input_reference": reference})
        assert (video.status, video.task) == ("completed", "image")


def test_a_character_is_a_clip_whose_frame_begins_the_video(client, clip):
    character = client.videos.create_character(name="Ball", video=clip)
    assert client.videos.get_character(character.id).name == "Ball"
    video = client.videos.create_and_poll(prompt=PROMPT, extra_body={"characters": [{"id": character.id}]})
    assert (video.status, video.task) == ("completed", "image")


def test_lists_have_pages_and_deleted_videos_are_gone(client, made):
    others = [client.videos.create(prompt=PROMPT, extra_body={"frames": 1}).id for _ in range(3)]
    for name in others:
        client.videos.poll(name)
    page = client.videos.list(limit=2)
    assert [video.id for video in page.data] == others[:0:-1]
    assert page.has_more
    every = [video.id for video in client.videos.list(limit=2)]
    assert every[:3] == others[::-1]
    assert made.id in every
    assert [video.id for video in client.videos.list(limit=100, order="asc")] == every[::-1]
    assert client.videos.delete(others[0]).deleted
    with pytest.raises(openai.NotFoundError) as error:
        client.videos.retrieve(others[0])
    assert error.value.param == "video_id"


def test_files_are_kept_listed_and_deleted(client, picture):
    file = client.files.create(file=("../../etc/red.png", picture), purpose="vision")
    assert (file.filename, file.bytes) == ("red.png", len(picture))
    assert client.files.retrieve(file.id).id == file.id
    assert file.id in [one.id for one in client.files.list()]
    assert client.files.content(file.id).read() == picture
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_the_models_are_listed(client):
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id).id == model.id
    assert client.models.retrieve("sora-2").id == model.id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_the_asynchronous_client_works(server, clip):
    async def use():
        async with AsyncOpenAI(base_url=f"{server.address}/v1", api_key="any", max_retries=0) as client:
            video = await client.videos.create_and_poll(prompt=PROMPT, seconds="1", size="1280x720")
            edit, extension, character = await asyncio.gather(
                client.videos.edit(prompt=PROMPT, video=clip),
                client.videos.extend(prompt=PROMPT, seconds="1", video=clip),
                client.videos.create_character(name="Ball", video=clip),
            )
            remix = await client.videos.remix(video.id, prompt=PROMPT)
            ended = [await client.videos.poll(one.id) for one in (edit, extension, remix)]
            assert (await client.videos.get_character(character.id)).id == character.id
            content = await client.videos.download_content(video.id)
            assert content.read()[4:8] == b"ftyp"
            assert (await client.videos.delete(video.id)).deleted
            names = [one.id async for one in client.videos.list(limit=1)]
            assert {one.id for one in ended} <= set(names)
            return [one.status for one in ended]

    assert asyncio.run(use()) == ["completed"] * 3
