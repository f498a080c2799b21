"""The crawl: from picture addresses to pictures on disk, politely and resumably."""
