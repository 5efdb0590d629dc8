"""A report as one HTML page: charts, tables, pictures and texts, without a request to any address."""
