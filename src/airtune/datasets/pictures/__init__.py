"""Images and videos: opened, judged, described, remembered."""
