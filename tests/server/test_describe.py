"""A form takes a file where JSON takes a reference, and the page shows text as text."""

from sorajax.server.describe import MODELS, PLACE, body_of, complete, page, with_files
from sorajax.server.fields import NewFile


def test_a_form_takes_files_in_place_of_references():
    reference = {"$ref": f"{PLACE}Reference"}
    schema = {"properties": {"image": {"anyOf": [reference, {"type": "null"}]}, "prompt": {"type": "string"}}}
    found = with_files(schema)["properties"]
    assert found["image"]["anyOf"][0]["anyOf"] == [{"type": "string", "format": "binary"}, reference]
    assert found["prompt"] == {"type": "string"}
    assert schema["properties"]["image"]["anyOf"][0] == reference


def test_every_operation_has_the_errors_and_its_body():
    body = body_of(NewFile)
    assert MODELS["CreateFile"] is NewFile
    operation = {**body, "responses": {"200": {}, "422": {}}, "description": "Stores <a> file."}
    found = complete({"info": {"title": "x", "description": "y"}, "paths": {"/v1/files": {"post": operation}}})
    assert set(operation["responses"]) == {"200", "4XX", "5XX"}
    assert {"CreateFile", "CreateFileForm", "Reference", "Error"} <= set(found["components"]["schemas"])
    shown = page(found)
    assert "<code>POST /v1/files</code>" in shown
    assert "Stores &lt;a&gt; file." in shown
    assert "<code>purpose</code>" in shown
