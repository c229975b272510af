"""`openankh serve`: one model behind HTTP, for people (pages) and programs (an API).

How it hangs together, for whoever adds to it:

- `app.create_app(settings)` gives the FastAPI application. Its parts are one value, `serving.Serving`, found by routes
  as `serving_of(request)`: `settings`, `model` (the loaded model), `engine` (the model's thread), `jobs`.
- `engine.Engine` computes batches of proteins from all waiting requests together. A route embeds with `await
  serving.embed(records, options, progress)`, so that its proteins share batches with everybody's. Work on the
  model that is not a batch of proteins runs in the thread for tasks, `await serving.run_task(function)`, what takes
  milliseconds in `await serving.run_quick(function)`.
- A route that asks the model of anything returns `await answer(request, kind, work)`, where `work(progress)` is a
  coroutine that gives an `answers.Answer`. That makes it a job: 202 when it takes long, cancelled when the client
  leaves. Pages may use `serving.jobs.start(kind, work, kept=True)` and tell of `job.progress` and `job.state`.
- What is not served is a `problems.Problem(status, line, where)`; UserError becomes 422, BusyError 503.
- Routers stand in `app.ROUTERS`. Pages have their own package, `serve.pages`, which `app.create_app` includes, its
  static files mounted at `/static`.
- `response_headers.CSP` holds for every answer: scripts, styles, fonts and images of this server, no inline script.
- Outside of the event loop nobody blocks it: the model has its thread, tasks have theirs, large answers are written in
  threads.
"""
