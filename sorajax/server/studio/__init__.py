"""The studio: a page that stands on the video API, and the operations that it needs besides. docs/studio.md."""
