"""The studio's forms have the tasks, the model's sizes and the operator's limits."""

from sorajax.tasks.table import TASKS


def test_the_description_has_the_tasks_and_the_model(server):
    about = server.http.get("/v1/studio").json()
    assert [task["name"] for task in about["tasks"]] == list(TASKS)
    assert about["tasks"][2]["options"] == {"direction": "forward"}
    assert about["model"]["sizes"] == ["16x16", "24x16"]
    assert about["limits"]["jobs"] == server.options.max_jobs
