"""The Gradio page, the REST API, the job queue and the command line, on top of the engine and the gallery."""
