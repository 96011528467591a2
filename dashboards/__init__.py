"""Grafana's dashboards as code: `python -m dashboards FOLDER` writes them. The chart ships what it writes."""
