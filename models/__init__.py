"""The starter models: how their data is fetched, how they are trained and measured, and what ships."""
