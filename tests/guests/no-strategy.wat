;; Exports nothing of the contract: refused when it is loaded.
(component
  (core module $code)
)
