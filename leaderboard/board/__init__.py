"""The site: a folder of results becomes static pages that anyone can host, or open from a disk."""
