import signal

if __name__ == "__main__":  # worker processes may import this file again
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # and not ignored, as nohup has it
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while PyTorch is imported, some seconds, just ends it
    from train.main import main

    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
