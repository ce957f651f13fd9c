"""`skxc serve`: a saved model over HTTP, on Starlette and uvicorn (the extra `serve`).

`_model` has the model and notices a new one, `_batching` asks it for many requests at once,
`_requests` reads what is asked, `_app` answers, and `_run` is the process around them.
"""
