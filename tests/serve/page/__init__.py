"""A package, so that one browser serves all modules here, and has ended before other tests run event loops."""
