"""The domain of the breaking-news push service: readers, articles, alerts and their delivery."""
