"""Frame selection: some frames of the video, and nothing of the others; what people use instead of compression."""
