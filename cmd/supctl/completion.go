package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) completionCmd() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print what makes a shell complete supctl's command lines",
		Long: `Prints a script that makes a shell complete verbs, flags, and the names of
services, which it asks the running supd for. For one session, or from the
shell's start-up file:

  bash    source <(supctl completion bash)
  zsh     source <(supctl completion zsh)     # behind compinit
  fish    supctl completion fish | source

For all users write it to
  bash    /usr/share/bash-completion/completions/supctl
  zsh     /usr/share/zsh/site-functions/_supctl
  fish    /usr/share/fish/vendor_completions.d/supctl.fish`,
		Example:   "  source <(supctl completion bash)",
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("completion takes the name of one shell: bash, zsh or fish")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				if err := root.GenBashCompletionV2(a.out, true); err != nil {
					return err
				}
				_, err := fmt.Fprint(a.out, bashWords)
				return err
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return usage("%q is no shell that supctl knows: bash, zsh or fish", args[0])
		},
	}
}

// bashWords replaces how the script finds the words of the line: it goes by
// the package bash-completion, which many machines do not have.
const bashWords = `
__supctl_init_completion()
{
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref "$@" cur prev words cword
        return
    fi
    local line=${COMP_LINE:0:COMP_POINT}
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    cword=$((${#words[@]} - 1))
    cur=${words[cword]} prev=${words[cword - 1]}
}
`
