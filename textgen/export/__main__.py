from textgen.export.main import main

if __name__ == "__main__":  # worker processes may import this file again
    main()
