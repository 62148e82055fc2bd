import signal

if __name__ == "__main__":  # worker processes may import this file again
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while PyTorch is imported, some seconds, just ends it
    from train.main import main

    signal.signal(signal.SIGINT, interrupt)
    main()
