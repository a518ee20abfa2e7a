"""The studio: a web page on top of the video API, and the additional operations that it needs. docs/studio.md."""
