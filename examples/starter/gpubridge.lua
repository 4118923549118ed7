-- Settings; gbrun config shows all of them. What stands under app is the app's own: gb.config.app.
return {
  app = { start = 0 },
}
