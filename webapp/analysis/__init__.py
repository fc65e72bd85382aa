"""Do the work of one analysis job, without Gradio."""
