error "this app is broken"
