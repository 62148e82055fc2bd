from textgen.frames.main import main

if __name__ == "__main__":
    main()
